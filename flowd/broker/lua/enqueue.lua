-- Enqueue jobs that are delayed, or that a capability has a part in.
--
-- KEYS  stream  delayed  delayed jobs
-- ARGV  for each job: entry id or '*', delay in ms, due in ms or 0, job id if delayed,
--         n, (name, value) * n/2
-- Returns for each job its id. The first that is refused is '!...' and the last answer:
--   what is behind it is not stored, so that the caller knows how far it got. One that may
--   be stored all the same is '?...'.
--
-- One step, because a delayed job is in two places: its due time, and its fields.
local stream, delayed, bodies = KEYS[1], KEYS[2], KEYS[3]
local now = now_ms()

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

-- A replica refuses all of them, so the caller has to ask another server.
local function is_replica(reply)
  return type(reply) == 'table' and reply.err and reply.err:find('READONLY', 1, true)
end

local results = {}
--@ begin
local i = 1
while i <= #ARGV do
  local number, first = #results + 1, i + 5
  local last = i + 4 + ARGV[i + 4]
  local result
  --@ before
  if not result then
    result = store(
      ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3], first, last)
    --@ stored
  end
  if type(result) == 'table' then
    if is_replica(result) then return result end
    --@ finish
    results[number] = (result.unknown and '?' or '!') .. result.err
    return results
  end
  results[number] = result
  i = last + 1
end
--@ finish
return results
