-- Enqueue jobs that are delayed, or that a capability has a part in.
--
-- KEYS  stream  delayed  delayed jobs
-- ARGV  for each job: when it is due: 0 for now, ms since 1970, or '+' and ms from now;
--         the entry id or '*' if it is due now, else the job id;
--         what the packed array begins with of its fields, its id, when it was enqueued, and
--         what a capability adds;
--         names and values of its fields, packed one behind the other
-- Returns for each job its id. The first that is refused is '!...' and the last answer:
--   what is behind it is not stored, so that the caller knows how far it got. One that may
--   be stored all the same is '?...'.
--
-- One step, because a delayed job is in two places: its due time, and its fields.
--
-- The caller packs the fields, so that a body is put together of texts: to take each name and
-- value as an argument and to pack a table of them costs the server twice as much.
local stream, delayed, bodies = KEYS[1], KEYS[2], KEYS[3]
local now = now_ms()
local at = string.format('%.0f', now)
local results = {}

-- A job that waits carries its id with it, and when it was enqueued.
local enqueued = cmsgpack.pack('_at', at)
local function body_of(job, head, items)
  return head .. '\163_id' .. text_head(#job) .. job .. enqueued .. items
end

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

local scored, score
local function store(due, id, head, items)
  if due > now then
    from = from or #results + 1
    if due ~= scored then scored, score = due, string.format('%.0f', due) end
    scores[#scores + 1] = score
    scores[#scores + 1] = id
    packed[#packed + 1] = id
    packed[#packed + 1] = body_of(id, head, items)
    return id
  end
  local refused = write_waiting()
  if refused then return refused end
  if due == 0 then return redis.pcall('XADD', stream, id, cmsgpack.unpack(items)) end
  local added = redis.pcall('XADD', stream, '*', '_id', id, cmsgpack.unpack(items))
  return type(added) == 'table' and added or id
end

-- A replica refuses all of them, so the caller has to ask another server.
local function is_replica(reply)
  return type(reply) == 'table' and reply.err and reply.err:find('READONLY', 1, true)
end

local width = 4 -- how many arguments each job has
--@ begin
local refused, when, due
for i = 1, #ARGV, width do
  local number, result = #results + 1, nil
  if ARGV[i] ~= when then -- many are due together, and a number is read slowly
    when = ARGV[i]
    due = when:sub(1, 1) == '+' and now + when or tonumber(when)
  end
  --@ before
  if not result then
    result = store(due, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
    --@ stored
  end
  if type(result) == 'table' then
    refused = result
    break
  end
  results[number] = result
end
refused = write_waiting() or refused
if is_replica(refused) then return refused end
--@ finish
if refused then results[#results + 1] = (refused.unknown and '?' or '!') .. refused.err end
return results
