-- Count what is left to do.
--
-- KEYS  stream  delayed
-- ARGV  group
-- Returns { entries in the stream, delayed jobs }.
--
-- One step, because a job moves between the two.
refuse_as_replica(KEYS[1], ARGV[1])
return { redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]) }
