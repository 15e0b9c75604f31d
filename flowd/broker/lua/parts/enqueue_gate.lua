-- Gate: a job of a queue with policies is admitted, parked, delayed, or is there already.
--
-- KEYS  those of the gate
-- ARGV  as the fifth of each job its ticket; rules, group
-- Returns '=...' for a job that is not stored: the id of the one that has its key; '~...'
--   for one that took the place of that job; '?...' for each that is stored if what the gate
--   keeps of them cannot be written.
--
-- A job has a job id, for the case that it waits. In the same step, because a job that has
-- a lock and is stored nowhere would keep others out.
--@ begin
local gate = open_gate(stream, table.remove(ARGV), bodies)
local plain_store = store
width = 5

local function with_ticket(ticket, items)
  return '\165_gate' .. text_head(#ticket) .. ticket .. items
end

-- Who has the keys of these jobs, asked for at once.
local looked = false
local function look_at_locks()
  local keys = {}
  for a = width, #ARGV, width do keys[#keys + 1] = gate.read(ARGV[a]).u end
  gate.know_locks(keys)
  looked = true
end

-- A job that waits for the key to be quiet takes the new fields, and waits again.
local function debounce(k, head, items)
  local said = redis.call('HGET', gate.state, 'd:' .. k.d)
  local since, job = (said or ''):match('^(%d+) (.*)$')
  if not job or not redis.call('ZSCORE', delayed, job) then return end
  local due = now + gate.rules.d
  if gate.rules.m then due = math.min(due, since + gate.rules.m) end
  local stored = redis.pcall('HSET', bodies, job, body_of(job, head, items))
  if type(stored) == 'table' then return stored end
  gate.stored = true
  redis.call('ZADD', delayed, due, job)
  return '~' .. job
end

-- The job that runs after the one that has the lock, and its body; nil without one. It is
-- delayed until it is due, and parked under the lock from then on.
local function behind_of(key)
  local job = redis.call('HGET', gate.state, 'l:' .. key)
  if not job then return end
  local body = gate.later.of(bodies)[job]
  if body == nil then body = redis.call('HGET', bodies, job) end
  if body then return job, body end
end

-- What runs afterwards has a time of its own, which may be later. One that is debounced has
-- none: it waits for the key alone.
local function follow(k, ticket, due, job, head, items)
  if due <= now or k.d then
    return gate.park(ticket, k, head, items, job, { at = enqueued, lock = k.u, again = true })
  end
  local stored = redis.pcall('HSET', bodies, job, body_of(job, head, with_ticket(ticket, items)))
  if type(stored) == 'table' then return stored end
  gate.stored = true
  redis.call('ZADD', delayed, string.format('%.0f', due), job)
  return job
end

-- Another job has the key: the new one is not stored, or is the one that runs afterwards.
local function again(k, ticket, other, due, job, head, items)
  if not gate.rules.l then
    -- A write, for those that wait until it is confirmed.
    local touched = redis.pcall('HSET', gate.state, 'u:' .. k.u, gate.lock_text(k.u))
    return type(touched) == 'table' and touched or '=' .. other
  end
  local behind, body = behind_of(k.u)
  job = behind or job
  local stored = follow(k, ticket, due, job, head, items)
  if type(stored) == 'table' then return stored end
  if body then -- the one whose place it takes stays if the new one is refused
    gate.forget(behind, cmsgpack.unpack(body))
    if due <= now or k.d then redis.call('ZREM', delayed, job) end
  end
  redis.call('HSET', gate.state, 'l:' .. k.u, job)
  return body and '~' .. job or job
end

local NEW, KNOWN = { at = enqueued, fresh = true }, { at = enqueued }
local function come(due, job, head, items, ticket)
  local k = gate.read(ticket)
  if k.u and not looked then look_at_locks() end
  if k.d then
    local found = debounce(k, head, with_ticket(ticket, items))
    if found then return found end
    due = now + (gate.rules.d or 0)
  end
  local holder, other
  if k.u then holder, other = gate.holder(k.u) end
  -- What runs afterwards may still wait when its key is free: a newer job takes its place.
  local taken = holder or (k.u and gate.rules.l and behind_of(k.u))
  if taken then return again(k, ticket, other, due, job, head, items) end
  if due > now then
    local stored = plain_store(due, job, head, with_ticket(ticket, items))
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
  if not gate.is_open(k) then
    return gate.park(ticket, k, head, items, job, due == 0 and NEW or KNOWN)
  end
  -- One that was due before it came keeps its id.
  if due > 0 then items = '\163_id' .. text_head(#job) .. job .. items end
  local entry = redis.pcall('XADD', stream, '*', '_gate', ticket, cmsgpack.unpack(items))
  if type(entry) == 'table' then return entry end
  gate.stored = true
  local own = due > 0 and job or entry
  gate.hold(entry, ticket, k, own)
  return own
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
