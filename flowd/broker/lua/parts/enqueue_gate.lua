-- Gate: a job of a queue with policies is admitted, parked, delayed, or is there already.
--
-- KEYS  those of the gate
-- ARGV  rules, group
-- Returns '=...' for a job that is not stored: the id of the one that has its key; '~...'
--   for one that took the place of that job; '?...' for each that is stored if what the gate
--   keeps of them cannot be written.
--
-- The ticket is the last field of each job. In the same step, because a job that has a
-- lock and is stored nowhere would keep others out.
--@ begin
local gate = open_gate(stream, table.remove(ARGV), bodies)
local plain_store = store

-- The fields of a job that waits, with its id and when it was enqueued.
local function fields_of(job, first, last)
  local fields = { unpack(ARGV, first, last) }
  local at = gate.place_of('_id', fields)
  if not at then
    at = #fields + 2
    fields[at - 1] = '_id'
  end
  fields[at] = job
  fields[#fields + 1] = '_at'
  fields[#fields + 1] = string.format('%.0f', now)
  return fields
end

-- A job that waits for the key to be quiet takes the new fields, and waits again.
local function debounce(k, first, last)
  local said = redis.call('HGET', gate.state, 'd:' .. k.d)
  local since, job = (said or ''):match('^(%d+) (.*)$')
  if not job or not redis.call('ZSCORE', delayed, job) then return end
  local due = now + gate.rules.d
  if gate.rules.m then due = math.min(due, since + gate.rules.m) end
  local stored = redis.pcall(
    'HSET', bodies, job, cmsgpack.pack(fields_of(job, first, last)))
  if type(stored) == 'table' then return stored end
  gate.stored = true
  redis.call('ZADD', delayed, due, job)
  return '~' .. job
end

-- Another job has the key: the new one is not stored, or is the one that runs afterwards.
local function again(k, ticket, holder, job, first, last)
  if not gate.rules.l then
    -- A write, for those that wait until it is confirmed.
    local touched = redis.pcall('HSET', gate.state, 'u:' .. k.u, gate.lock_text(k.u))
    return type(touched) == 'table' and touched or '=' .. holder
  end
  local behind, body = gate.behind(k.u)
  if body then
    gate.forget(behind, cmsgpack.unpack(body))
    job = behind
  end
  local stored = gate.park(ticket, k, fields_of(job, first, last), job, false, k.u, true)
  if type(stored) == 'table' then return stored end
  redis.call('HSET', gate.state, 'l:' .. k.u, job)
  return body and '~' .. job or job
end

local function come(id, wait, due, job, first, last)
  local ticket = ARGV[last]
  local k = gate.read(ticket)
  if k.d then
    local found = debounce(k, first, last)
    if found then return found end
    wait = gate.rules.d or 0
  end
  local owner, holder
  if k.u then owner, holder = gate.holder(k.u) end
  -- What runs afterwards may still wait when its key is free: a newer job takes its place.
  owner = owner or (k.u and gate.rules.l and gate.behind(k.u))
  if owner then return again(k, ticket, holder, job, first, last) end
  if wait > 0 or due > now then
    local stored = plain_store(id, wait, due, job, first, last)
    stored = write_waiting() or stored
    if type(stored) == 'string' then
      gate.stored = true
      if k.u then gate.lock(k.u, '@' .. job, job) end
      if k.d then
        redis.call('HSET', gate.state, 'd:' .. k.d, string.format('%.0f %s', now, job))
      end
    end
    return stored
  end
  local entry, rest = gate.enter(
    ticket, k, { unpack(ARGV, first, last) }, job, { named = due > 0 })
  return rest or (due > 0 and job) or entry
end

local function said(why) return type(why) == 'table' and why.err or tostring(why) end

-- Whatever fails, what was stored before has to be written.
store = function(...)
  gate.stored = false
  local came, result = pcall(come, ...)
  if came then return result end
  return { err = said(result), unknown = gate.stored }
end
--@ finish
local finished, why = pcall(gate.finish)
if not finished then
  why = '?the job may be stored, and what the gate keeps of it is not: ' .. said(why)
  for n = 1, #results do results[n] = why end
end
