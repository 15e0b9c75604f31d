-- Enqueue jobs that have a delay or an idempotency key.
--
-- KEYS  stream  delayed  delayed jobs  idempotency key...
-- ARGV  for each job: entry id or '*', delay in ms, job id if delayed, index into KEYS
--       or 0, ms to keep the key, n, (name, value) * n/2
-- Returns for each job its id. The first that is refused is '!...' and the last answer:
--   what is behind it is not stored, so that the caller knows how far it got.
--
-- One step, because a key that is set without its job would swallow the next attempt,
-- and a job that is stored without its key would be stored twice.
local stream, delayed, bodies = KEYS[1], KEYS[2], KEYS[3]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local results = {}
local i = 1
while i <= #ARGV do
  local id, delay, job = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local key, ttl = KEYS[tonumber(ARGV[i + 3])], ARGV[i + 4]
  local first = i + 6
  local last = i + 5 + ARGV[i + 5]
  i = last + 1
  local result = key and redis.call('GET', key)
  if result then
    -- A write, or WAIT and WAITAOF of a durable repetition would wait for nothing.
    redis.call('PEXPIRE', key, math.max(1, redis.call('PTTL', key)))
  else
    local stored
    if delay == 0 then
      stored = redis.pcall('XADD', stream, id, unpack(ARGV, first, last))
      job = stored
    else
      local fields = { unpack(ARGV, first, last) }
      fields[#fields + 1] = '_at'
      fields[#fields + 1] = string.format('%.0f', now)
      local body = cmsgpack.pack(fields)
      stored = redis.pcall('HSET', bodies, job, body)
      if type(stored) ~= 'table' then
        stored = redis.pcall('ZADD', delayed, now + delay, job)
      end
    end
    if type(stored) == 'table' then
      -- A replica refuses all of them, and whoever asks has to go elsewhere.
      if stored.err:find('READONLY', 1, true) then return stored end
      results[#results + 1] = '!' .. stored.err
      return results
    end
    if key then redis.call('SET', key, job, 'PX', ttl) end
    result = job
  end
  results[#results + 1] = result
end
return results
