-- Count what is left to do.
--
-- KEYS  stream  delayed  control
-- ARGV  group
-- Returns { jobs that run or wait, delayed jobs }. Of those that wait it counts one: who
--   asks wants to know whether there is any.
--
-- What the group will never get is no work: entries before its beginning, or that
-- a client acknowledged and did not delete. Without a group, a worker that sets it up
-- gets what is there.
--
-- One step, because a job moves between the places.
local stream, delayed = KEYS[1], KEYS[2]
--@ begin
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if groups.err and not groups.err:find('no such key', 1, true) then return groups end
local work = redis.call('XLEN', stream)
local row = group_of(stream, ARGV[1])
if row then
  local after = '(' .. read_up_to(KEYS[3], row)
  work = row.pending + #redis.call('XRANGE', stream, after, '+', 'COUNT', 1)
end
--@ counted
refuse_as_replica(stream, ARGV[1])
return { work, redis.call('ZCARD', delayed) }
