-- Cron: how the last run of each schedule ended, or where its entry is now.
--
-- KEYS  cron
-- ARGV  names of the schedules, with ',' between them
--       entry id=why, with ',' between them, of runs that were not begun or not finished
--
-- In the same step, because between two a tick would find a run that is alive nowhere.
--@ begin
local cron, cron_runs, cron_ends = table.remove(KEYS), {}, {}
for entry, why in table.remove(ARGV):gmatch('([^,=]+)=([^,=]+)') do cron_ends[entry] = why end
for cron_name in table.remove(ARGV):gmatch('[^,]+') do
  local entry = redis.call('HGET', cron, cron_name .. ':entry')
  if entry and entry ~= '' then cron_runs[entry] = cron_name end
end
--@ moved
if cron_runs[id] and not (type(moved) == 'table' and moved.err) then
  if verb == 'dead' then
    redis.pcall('HSET', cron, cron_runs[id] .. ':outcome', 'dead')
  elseif type(moved) == 'string' then
    redis.pcall('HSET', cron, cron_runs[id] .. ':entry', moved)
  end
  cron_runs[id] = nil
end
--@ settled
for n = from, to do
  if cron_runs[done[n]] then
    redis.pcall(
      'HSET', cron, cron_runs[done[n]] .. ':outcome', cron_ends[done[n]] or 'done')
  end
end
