-- Say how far running jobs are, each only while it is ours.
--
-- KEYS  stream  progress
-- ARGV  group  consumer  first id  last id  (id count fraction text)...
-- Returns how many were ours.
--
-- One step, because a worker that lost a job must not write over what its next one says,
-- and what is written for a job that has ended would stay. What a crash leaves behind ends
-- with the day.
local stream, progress = KEYS[1], KEYS[2]
local held = fence(stream, ARGV[1], ARGV[2], ARGV[3], ARGV[4], (#ARGV - 4) / 4)
local ours = 0
for i = 5, #ARGV, 4 do
  if held(ARGV[i]) == tonumber(ARGV[i + 1]) then
    redis.call('HSET', progress, ARGV[i], ARGV[i + 2] .. ' ' .. ARGV[i + 3])
    ours = ours + 1
  end
end
redis.call('EXPIRE', progress, 86400)
return ours
