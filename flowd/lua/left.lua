-- Count what is left to do.
--
-- KEYS  stream  delayed
-- Returns { entries in the stream, delayed jobs }.
--
-- One step, because a job moves between the two.
return { redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]) }
