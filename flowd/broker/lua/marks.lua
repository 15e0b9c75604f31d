-- Prelude of the scripts that mark running jobs as cancelled, or take the mark off.
--
-- read_marks(control, now) -> lines, { job id -> true }
-- write_marks(control, lines) -> the new revision, or nil without marks
-- unmark(control, job)
--
-- All marks are one text: a revision, by which workers see that it has changed, and a line
-- `ms job-id` for each. So a worker asks with one HGET, and pays nothing while there are
-- none. A mark ends with its job, or after a day. A revision comes once: the text may be
-- gone and there again in one millisecond, so it counts microseconds.
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

local function write_marks(control, lines)
  if #lines == 0 then
    redis.call('HDEL', control, '@cancels')
    return
  end
  local text = redis.call('HGET', control, '@cancels') or '0'
  local time = redis.call('TIME')
  local revision = math.max(time[1] * 1000000 + time[2], text:match('^%d+') + 1)
  redis.call(
    'HSET', control, '@cancels',
    string.format('%.0f\n', revision) .. table.concat(lines, '\n'))
  return string.format('%.0f', revision)
end

local function unmark(control, job)
  if not redis.call('HGET', control, '@cancels') then return end
  local now = now_ms()
  local kept = {}
  for _, line in ipairs((read_marks(control, now))) do
    if line:match(' (.+)$') ~= job then kept[#kept + 1] = line end
  end
  write_marks(control, kept)
end
