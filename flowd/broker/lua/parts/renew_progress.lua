-- Progress: what long jobs have said is kept while they run.
--
-- KEYS  progress
--@ begin
local progress = table.remove(KEYS)
--@ renewed
redis.call('EXPIRE', progress, 86400)
