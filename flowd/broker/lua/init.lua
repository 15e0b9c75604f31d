-- Create a stream and its one consumer group.
--
-- KEYS  stream
-- ARGV  group  starting id
-- Returns 1 if the group was created, 0 if it was there.
--
-- One step, because two programs may set up two groups at the same moment.
local refused = other_group(KEYS[1], ARGV[1])
if refused then return refused end
if #groups_of(KEYS[1]) > 0 then return 0 end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
return 1
