-- Delete a dead letter and free the idempotency key of its job.
--
-- KEYS  dead letters  idempotency key, if the job had one
-- ARGV  letter id  job id
-- Returns 1 if the letter was deleted, 0 if it is gone.
--
-- One step, because a key may be taken by another job once it has run out.
--
-- Bounds: one letter, which is not read.
local deleted = redis.call('XDEL', KEYS[1], ARGV[1])
if deleted == 1 and KEYS[2] and is_of(redis.call('GET', KEYS[2]), ARGV[2]) then
  redis.call('DEL', KEYS[2])
end
return deleted
