-- Control: the mark of a cancelled job ends with the job.
--
-- KEYS  control
-- ARGV  for each marked job that is held: entry id, job id; how many
--
-- In the same step, because a mark without its job would cancel the job when it is redriven.
--@ begin
local control, control_jobs = table.remove(KEYS), {}
for _ = 1, table.remove(ARGV) do
  local job = table.remove(ARGV)
  control_jobs[table.remove(ARGV)] = job
end
--@ moved
-- It comes back under another entry, and is to be recognized by its mark.
if verb == 'requeue' and moved ~= 2 then control_jobs[id] = nil end
--@ settled
local control_ended = {}
for n = from, to do
  if control_jobs[done[n]] then control_ended[control_jobs[done[n]]] = true end
end
if next(control_ended) then
  local text = redis.pcall('HGET', control, '@cancels')
  text = type(text) == 'string' and text or '0'
  local kept = { string.format('%.0f', text:match('^%d+') + 1) }
  for ms, job in text:gmatch('\n(%d+) ([^\n]+)') do
    if not control_ended[job] then kept[#kept + 1] = ms .. ' ' .. job end
  end
  if kept[2] then
    redis.pcall('HSET', control, '@cancels', table.concat(kept, '\n'))
  else
    redis.pcall('HDEL', control, '@cancels')
  end
end
