-- Enqueue jobs that have a delay or an idempotency key.
--
-- KEYS  stream  delayed  delayed jobs  then, as they are pointed to: receipt of the call,
--         idempotency keys
-- ARGV  index of the receipt into KEYS or 0, ms to keep it
--       then for each job: entry id or '*', delay in ms, due in ms or 0, job id if
--         delayed, index into KEYS or 0, ms to keep the key, n, (name, value) * n/2
-- Returns for each job its id. The first that is refused is '!...' and the last answer:
--   what is behind it is not stored, so that the caller knows how far it got. '?...' is
--   last as well: the job is stored, and its key could not be set.
--
-- One step, because a key that is set without its job would swallow the next attempt,
-- and a job that is stored without its key would be stored twice.
--
-- The receipt has the ids of a call whose keys may run out before it repeats itself.
local stream, delayed, bodies = KEYS[1], KEYS[2], KEYS[3]
local receipt, hold = KEYS[tonumber(ARGV[1])], ARGV[2]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
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

local function store(id, wait, due, job, first, last)
  local fields = { unpack(ARGV, first, last) }
  if wait == 0 and due == 0 then return redis.pcall('XADD', stream, id, unpack(fields)) end
  due = math.max(due, now + wait)
  if due <= now then
    local added = redis.pcall('XADD', stream, '*', unpack(fields))
    return type(added) == 'table' and added or job
  end
  fields[#fields + 1] = '_at'
  fields[#fields + 1] = string.format('%.0f', now)
  local stored = redis.pcall('ZADD', delayed, due, job)
  if type(stored) == 'table' then return stored end
  stored = redis.pcall('HSET', bodies, job, cmsgpack.pack(fields))
  if type(stored) == 'table' then
    redis.pcall('ZREM', delayed, job) -- without the right, it goes when it is due
    return stored
  end
  return job
end

-- A replica refuses all of them, and whoever asks has to go elsewhere.
local function is_replica(reply)
  return type(reply) == 'table' and reply.err and reply.err:find('READONLY', 1, true)
end

local function issue(results)
  if receipt and #results > #stored_before then
    redis.call('SET', receipt, table.concat(results, '\n'), 'PX', hold)
  end
end

local results = {}
local i = 3
while i <= #ARGV do
  local key = KEYS[tonumber(ARGV[i + 4])]
  local first = i + 7
  local last = i + 6 + ARGV[i + 6]
  local before = stored_before[#results + 1]
  local result = before or (key and redis.call('GET', key))
  if type(result) == 'string' then
    local touched = touch(before and receipt or key)
    if is_replica(touched) then return touched end
  elseif not result then
    result = store(
      ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3], first, last)
    local kept = key and type(result) == 'string'
      and redis.pcall('SET', key, result, 'PX', ARGV[i + 5])
    if kept and kept.err then
      issue(results)
      results[#results + 1] = '?' .. kept.err
      return results
    end
  end
  if type(result) == 'table' then
    if is_replica(result) then return result end
    issue(results)
    results[#results + 1] = '!' .. result.err
    return results
  end
  results[#results + 1] = result
  i = last + 1
end
issue(results)
return results
