-- Progress: what a job said of itself ends with its delivery.
--
-- KEYS  progress
--
-- In the same step, because what is left of a job that has ended would be shown until the
-- day ends.
--@ begin
local progress = table.remove(KEYS)
--@ settled
redis.pcall('HDEL', progress, unpack(done, from, to))
