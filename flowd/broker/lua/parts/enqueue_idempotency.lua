-- Idempotency keys: a job whose key is remembered is not stored, and has the first one's id.
--
-- KEYS  the key of each job that has one, receipt of the call if it has one
-- ARGV  for each job: ms to keep its key, or 0 without one; ms to keep the receipt, or 0;
--         number of jobs
-- Returns '?...' as the last answer if a job is stored, and its key cannot be set.
--
-- In the same step, because a key that is set without its job would swallow the next
-- attempt, and a job that is stored without its key would be stored twice.
--
-- The receipt has the ids of a call whose keys may run out before it repeats itself.
--@ begin
local jobs, hold = tonumber(table.remove(ARGV)), table.remove(ARGV)
local receipt = hold ~= '0' and table.remove(KEYS)
local key_of, keep = {}, {}
for n = jobs, 1, -1 do
  keep[n] = table.remove(ARGV)
  key_of[n] = keep[n] ~= '0' and table.remove(KEYS)
end
local stored_before = {}
for id in ((receipt and redis.call('GET', receipt)) or ''):gmatch('[^\n]+') do
  stored_before[#stored_before + 1] = id
end

-- A write, or WAIT and WAITAOF of a durable repeat would wait for nothing, and a primary
-- that became a replica would answer from its past.
local function touch(key)
  local left = redis.call('PTTL', key)
  if left >= 0 then return redis.pcall('PEXPIRE', key, math.max(1, left)) end
  return redis.pcall('SET', key, redis.call('GET', key), 'KEEPTTL')
end

local function issue()
  if receipt and #results > #stored_before then
    redis.call('SET', receipt, table.concat(results, '\n'), 'PX', hold)
  end
end
--@ before
local key, before = key_of[number], stored_before[number]
result = before or (key and redis.pcall('GET', key))
if type(result) == 'string' then
  local touched = touch(before and receipt or key)
  if is_replica(touched) then return touched end
end
--@ stored
if key then result = write_waiting() or result end
local kept = key and type(result) == 'string'
  and redis.pcall('SET', key, result, 'PX', keep[number])
if kept and kept.err then
  result = { err = 'the job is stored, and its key is not: ' .. kept.err, unknown = true }
end
--@ finish
issue()
