-- Prelude of the scripts that mark running jobs as cancelled, or take the mark off.
--
-- read_marks(control, now) -> lines, { job id -> true }
-- write_marks(control, lines, now)
-- unmark(control, job)
--
-- All marks are one text: a revision, by which workers see that it has changed, and a line
-- `ms job-id` for each. So a worker asks with one HGET, and pays nothing while there are
-- none. A mark ends with its job, or after a day.
local function read_marks(control, now)
  local lines, marked = {}, {}
  local text = redis.call('HGET', control, '@cancels') or ''
  for ms, job in text:gmatch('\n(%d+) ([^\n]+)') do
    if now - ms < 86400000 then
      lines[#lines + 1] = ms .. ' ' .. job
      marked[job] = true
    end
  end
  return lines, marked
end

local function write_marks(control, lines, now)
  if #lines == 0 then
    redis.call('HDEL', control, '@cancels')
    return
  end
  local text = redis.call('HGET', control, '@cancels') or '0'
  local revision = math.max(now, text:match('^%d+') + 1)
  redis.call(
    'HSET', control, '@cancels',
    string.format('%.0f\n', revision) .. table.concat(lines, '\n'))
end

local function unmark(control, job)
  if not redis.call('HGET', control, '@cancels') then return end
  local now = now_ms()
  local kept = {}
  for _, line in ipairs((read_marks(control, now))) do
    if line:match(' (.+)$') ~= job then kept[#kept + 1] = line end
  end
  write_marks(control, kept, now)
end
