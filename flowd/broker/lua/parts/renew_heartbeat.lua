-- Heartbeat: this worker lives, though its event loop may stand still.
--
-- KEYS  workers
-- ARGV  what it says, or '' if it said so a moment ago; ms to keep the key
--@ begin
local workers = table.remove(KEYS)
local workers_kept, heartbeat = table.remove(ARGV), table.remove(ARGV)
--@ renewed
if heartbeat ~= '' then
  local beat = redis.call('TIME')
  heartbeat = string.format('%.0f ', beat[1] * 1000 + math.floor(beat[2] / 1000)) .. heartbeat
  if type(redis.pcall('HSET', workers, ARGV[2], heartbeat)) == 'number' then
    redis.pcall('PEXPIRE', workers, workers_kept)
  end
end
