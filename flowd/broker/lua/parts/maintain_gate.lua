-- Gate: due jobs come to the gate, lanes whose rate allows it go on, and what is held by
-- nothing is freed.
--
-- KEYS  those of the gate, policies
-- ARGV  policies of the worker, rules
-- Returns how many holders were nowhere.
--
-- The policies are a sign of life: without one for a minute, workers of a release without a
-- gate let all jobs through.
--@ begin
local gate_rules, gate_text = table.remove(ARGV), table.remove(ARGV)
ARGV[#ARGV + 1] = gate_rules
local gate_policies = table.remove(KEYS)
local gate = open_gate(stream, group, bodies)

-- Whether a worker had it before: then it comes first in its lane, as a retry keeps its
-- place. A job that was delayed from the beginning has its place from when it is due.
local function had_worker(fields)
  for f = 1, #fields, 2 do
    if fields[f] == '_deliveries' then return true end
  end
  return false
end

-- A due job comes to the gate; one without a ticket is admitted when it is read.
local plain_promote = promote
promote = function(job, body)
  local fields = cmsgpack.unpack(body)
  local at = gate.ticket_at(fields)
  if not at then return plain_promote(job, body) end
  local ticket = fields[at]
  local k = gate.read(ticket)
  gate.leave(k.c, '@' .. job)
  gate.end_debounce(k.d, job)
  local name = gate.id_of(fields, job)
  local id, rest = gate.enter(ticket, k, fields, job,
    { me = '@' .. job, returned = had_worker(fields), again = true })
  if id and k.u then gate.lock(k.u, id, name) end
  -- What was to run afterwards has the key now, so no newer job takes its place.
  if k.u and gate.rules.l and gate.lock_of(k.u) == (id or '@' .. job)
    and redis.call('HGET', gate.state, 'l:' .. k.u) == job then
    redis.call('HDEL', gate.state, 'l:' .. k.u)
  end
  gate.wake('c', k.c)
  return id or (type(rest) == 'table' and rest)
end

-- Look at some members of a set, from anywhere on.
local function each_of(set, look)
  local many = redis.call('ZCARD', set) > 50
  local from = many and '[' .. redis.call('ZRANDMEMBER', set) or '-'
  for _, row in ipairs(redis.call('ZRANGEBYLEX', set, from, '+', 'LIMIT', 0, 50)) do
    look(row)
  end
end

-- Free what is held by nothing, and wake what waits for nothing: a limit of another
-- release may have left it.
local function heal()
  gate.later.write()
  for _, id in ipairs(redis.call('HRANDFIELD', gate.holds, 50)) do
    if not gate.lives(id) then
      gate.free({ id })
      gate.healed = gate.healed + 1
    end
  end
  gate.later.write()
  each_of(gate.slots, function(row)
    local key, holder = row:match('^(%Z+)%z(.*)$')
    if not gate.lives(holder) then
      gate.leave(key, holder)
      gate.wake('c', key)
      gate.healed = gate.healed + 1
    end
  end)
  gate.later.write()
  each_of(gate.waits, function(row)
    local sign, key = row:match('^(%a):(%Z+)')
    if sign == 'c' and not gate.full(key) then gate.wake('c', key) end
    if sign == 'r' then gate.wake_rate(key) end
    if sign == 'u' and not gate.holder(key) then gate.wake('u', key) end
  end)
  gate.later.write()
  local lanes = {}
  each_of(gate.parked, function(row) lanes[row:match('^%Z*')] = true end)
  for lane in pairs(lanes) do gate.find_lane(lane) end
  for _, field in ipairs(redis.call('HRANDFIELD', gate.state, 20)) do
    local key = field:match('^u:(.*)$')
    local holder = key and gate.lock_of(key)
    if holder and not gate.lives(holder) then
      gate.unlock(key, holder)
      gate.healed = gate.healed + 1
    end
    local behind = field:match('^l:.*$') and redis.call('HGET', gate.state, field)
    if behind and not gate.lives('@' .. behind) then
      redis.call('HDEL', gate.state, field)
    end
  end
end
--@ due
-- Ahead of the takeovers: what is claimed in a step that fails is counted, and reaches no
-- worker. What is admitted takes the room of its body: behind a write.
if not due[1] then refuse_as_replica(stream, group) end
gate.write()
heal()
gate.admit()
gate.close()
local gate_due = gate.next_due()
--@ reply
if gate_due and (reply[2] < 0 or gate_due < reply[2]) then reply[2] = gate_due end
if redis.call('PTTL', gate_policies) < 50000 then
  redis.pcall('SET', gate_policies, gate_text, 'PX', 60000)
end
reply[#reply + 1] = gate.healed
