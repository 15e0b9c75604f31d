-- End deliveries: acknowledge, requeue or dead-letter, each only while it is ours.
--
-- KEYS  stream  delayed  delayed jobs  dead letters  receipts
-- ARGV  group  consumer  batch  1 if the batch was sent before, else 0
--       1 if receipts are to be kept from now on, else 0
--       first id  last id  number of items  number of acks of a first delivery
--       if all items are acks whose entries lie in runs, side by side: of each run its first
--         id and the lowest id behind it, with spaces between; else ''
--       id...
--       then for each other item, dead letters before what is requeued: verb id count n
--       argument * n
--         ack      nothing: an ack of a later delivery
--         dead     (letter name, value)...
--         requeue  delay in ms, job id, (envelope name, value)...
-- Returns 1 if all items are acks that are settled; else one result for each item:
--   1 settled · 0 not ours any more · 2 the entry is deleted · '!...' refused, still
--   pending · any other text: the id of the dead letter
--
-- One step, because between two a crash would leave a job in both places or in none.
-- Within an item the write that grows comes first, so that one that is refused is
-- refused whole and stays pending; it does not hurt the others.
--
-- A server out of memory refuses what may grow only as a script's first write. Dead
-- letters come first, because they grow by what they say of the failure: they are
-- refused. What is requeued takes the room of its entry: it goes behind a write that
-- changes nothing, and is accepted.
--
-- The receipt is for the caller that lost the answer: it asks again with the same batch
-- and gets the same results, instead of 0 for all that it settled itself. All receipts
-- of a group expire together, five minutes after a consumer said that they begin anew.
local stream, delayed, bodies, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local receipts = KEYS[5]
local group, consumer, batch = ARGV[1], ARGV[2], ARGV[3]
--@ begin
local refused = other_group(stream, group)
if refused then return refused end
if ARGV[4] == '1' then
  local receipt = redis.call('HGET', receipts, consumer)
  local known = receipt and cmsgpack.unpack(receipt)
  if known and known[1] == batch then
    refuse_as_replica(stream, group)
    return known[2]
  end
end
local held = fence(stream, group, consumer, ARGV[6], ARGV[7], tonumber(ARGV[8]))

local results, done = {}, {}
local i = 11 + ARGV[9]
for a = 11, i - 1 do
  local ours = held(ARGV[a]) == 1
  if ours then done[#done + 1] = ARGV[a] end
  results[#results + 1] = ours and 1 or 0
end

-- The entry's fields in order, those named in the envelope replaced.
local function with_envelope(fields, first, last)
  local new, replaced = {}, {}
  for a = first, last, 2 do replaced[ARGV[a]] = true end
  for f = 1, #fields, 2 do
    if not replaced[fields[f]] then
      new[#new + 1] = fields[f]
      new[#new + 1] = fields[f + 1]
    end
  end
  for a = first, last do new[#new + 1] = ARGV[a] end
  return new
end

local function requeue(id, fields, first, last)
  local delay, job = tonumber(ARGV[first]), ARGV[first + 1]
  fields = with_envelope(fields, first + 2, last)
  if delay == 0 then return redis.pcall('XADD', stream, '*', unpack(fields)) end
  local body = cmsgpack.pack(fields)
  local stored = redis.pcall('HSETNX', bodies, job, body)
  if stored == 0 then -- a job of this id is delayed already: keep both
    job = job .. ':' .. id
    stored = redis.pcall('HSET', bodies, job, body)
  end
  if type(stored) == 'table' then return stored end
  local timed = redis.pcall('ZADD', delayed, now_ms() + delay, job)
  if type(timed) == 'table' then redis.pcall('HDEL', bodies, job) end
  return timed, job
end

local function bury(fields, first, last)
  -- More than a job and its envelope have; `unpack` ends near 8,000 values.
  if #fields > 2034 then fields = { '_packed', cmsgpack.pack(fields) } end
  for a = first, last do fields[#fields + 1] = ARGV[a] end
  return redis.pcall('XADD', dead, '*', unpack(fields))
end

-- What refuses every write refuses the first one, so nothing was done by then.
local function refuses_all(moved)
  for _, code in ipairs({ 'READONLY', 'MISCONF', 'NOREPLICAS' }) do
    if moved.err:find(code, 1, true) then return true end
  end
end

--@ ready
local may_grow = false
while i <= #ARGV do
  local verb, id, count, n = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local first = i + 4
  local last = i + 3 + n
  i = last + 1
  local result, ours = 0, held(id) == count
  if ours and verb == 'ack' then
    done[#done + 1] = id
    result = 1
  elseif ours then
    local entry = redis.call('XRANGE', stream, id, id)[1]
    local moved = 2
    if entry and verb == 'requeue' then
      if not may_grow then refuse_as_replica(stream, group) end
      may_grow = true
      moved = requeue(id, entry[2], first, last)
    elseif entry then
      moved = bury(entry[2], first, last)
    end
    --@ moved
    if type(moved) == 'table' and moved.err then
      if refuses_all(moved) then return moved end
      result = '!' .. moved.err
    else
      done[#done + 1] = id
      result = (moved == 2 and 2) or (verb == 'dead' and moved) or 1
    end
  end
  results[#results + 1] = result
end

-- Runs at the head of the stream are deleted by where they end; to look up each entry is half
-- of a settle. Never with anything else: what is pending is asked for, and what other clients
-- have left is not within a run. Returns false if single entries have to be deleted.
local function trimmed()
  if redis.call('XPENDING', stream, group, '-', ARGV[7], 1)[1] then return false end
  for first, behind in ARGV[10]:gmatch('(%S+) (%S+)') do
    if redis.call('XRANGE', stream, '-', '(' .. first, 'COUNT', 1)[1] then return false end
    -- A user may lack the right.
    if type(redis.pcall('XTRIM', stream, 'MINID', behind)) == 'table' then return false end
  end
  return true
end

-- An ack refuses as well.
if not done[1] then refuse_as_replica(stream, group) end
local in_runs = ARGV[10] ~= '' and #done == #ARGV - 10
for from = 1, #done, 1000 do
  local to = math.min(from + 999, #done)
  redis.call('XACK', stream, group, unpack(done, from, to))
  if not in_runs then redis.call('XDEL', stream, unpack(done, from, to)) end
  --@ settled
end
if in_runs and not trimmed() then redis.call('XDEL', stream, unpack(done)) end
--@ finish
if #done == #ARGV - 10 then results = 1 end
-- What has ended is said also where no receipt can be kept.
local added = redis.pcall('HSET', receipts, consumer, cmsgpack.pack({ batch, results }))
if added == 1 or ARGV[5] == '1' then redis.pcall('PEXPIRE', receipts, 300000) end
return results
