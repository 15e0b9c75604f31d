-- Prelude of the scripts that free the idempotency key of a job that never ran.
--
-- is_of(remembered, job) -> whether this is what an idempotency key remembers of the job
--
-- Under the key is what its enqueue was answered: the job's id, with '~' in front of it if
-- the job took the place of another one that waited. Another id is that of a later job.
local function is_of(remembered, job)
  return remembered == job or remembered == '~' .. job
end
