-- Heartbeat: this worker lives, and says what it can take.
--
-- KEYS  workers
-- ARGV  what it says, or '' if it said so a moment ago; ms to keep the key
-- Returns 1 if it was written.
--
-- It is behind a write, or a server that is out of memory would refuse it, and all its
-- workers would look dead.
--@ begin
local workers = table.remove(KEYS)
local workers_kept, heartbeat = table.remove(ARGV), table.remove(ARGV)
--@ reply
local beaten = 0
if heartbeat ~= '' then
  -- Without the right to write it, a worker runs on without.
  local written = redis.pcall(
    'HSET', workers, consumer, string.format('%.0f ', now) .. heartbeat)
  if type(written) == 'number' then
    redis.pcall('PEXPIRE', workers, workers_kept)
    -- The first one. Before Redis 7.2 a read that waits makes no consumer, so that a worker
    -- without a job would be none.
    if written == 1 then redis.pcall('XGROUP', 'CREATECONSUMER', stream, group, consumer) end
    beaten = 1
  end
end
reply[#reply + 1] = beaten
