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
local at = string.format('%.0f', now)
local results = {}

-- Many jobs of a call are due together, and a number is read and written slowly.
local function once(convert)
  return setmetatable({}, {
    __index = function(known, given)
      known[given] = convert(given)
      return known[given]
    end,
  })
end

local number_of = once(tonumber)
local score_of = once(function(due) return string.format('%.0f', due) end)

-- The jobs that wait, from that number on, until they are written together: each command
-- costs more than what it adds. (due, id) and (id, fields).
local scores, packed, from = {}, {}, nil

-- What must not be done without them is done behind this. Returns a refusal; then none of
-- them is stored, and they are no results any more.
local function write_waiting()
  if not from then return end
  local stored = redis.pcall('ZADD', delayed, unpack(scores))
  if type(stored) ~= 'table' then
    stored = redis.pcall('HSET', bodies, unpack(packed))
    if type(stored) == 'table' then
      for n = 1, #packed, 2 do
        redis.pcall('ZREM', delayed, packed[n]) -- without the right, it goes when it is due
      end
    end
  end
  if type(stored) == 'table' then
    for n = #results, from, -1 do results[n] = nil end
  end
  scores, packed, from = {}, {}, nil
  return type(stored) == 'table' and stored or nil
end

local function store(id, wait, due, job, first, last)
  local soon = wait == 0 and due == 0
  due = math.max(due, now + wait)
  if due <= now then
    local added = write_waiting() or redis.pcall('XADD', stream, id, unpack(ARGV, first, last))
    return (soon or type(added) == 'table') and added or job
  end
  from = from or #results + 1
  scores[#scores + 1] = score_of[due]
  scores[#scores + 1] = job
  packed[#packed + 1] = job
  packed[#packed + 1] = cmsgpack.pack({ '_at', at, unpack(ARGV, first, last) })
  return job
end

-- A replica refuses all of them, so the caller has to ask another server.
local function is_replica(reply)
  return type(reply) == 'table' and reply.err and reply.err:find('READONLY', 1, true)
end

--@ begin
local i, refused = 1, nil
while i <= #ARGV and not refused do
  local number, first = #results + 1, i + 5
  local last = i + 4 + number_of[ARGV[i + 4]]
  local result
  --@ before
  if not result then
    result = store(
      ARGV[i], number_of[ARGV[i + 1]], number_of[ARGV[i + 2]], ARGV[i + 3], first, last)
    --@ stored
  end
  if type(result) == 'table' then
    refused = result
  else
    results[number] = result
  end
  i = last + 1
end
refused = write_waiting() or refused
if is_replica(refused) then return refused end
--@ finish
if refused then results[#results + 1] = (refused.unknown and '?' or '!') .. refused.err end
return results
