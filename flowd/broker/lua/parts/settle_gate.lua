-- Gate: what has ended frees its slots and its lock, and the next jobs are admitted.
--
-- KEYS  those of the gate
-- ARGV  rules
--
-- In the same step: a slot that is freed before its job has ended is given to two, and one
-- that is freed after it is lost with the worker.
--@ begin
local gate = open_gate(stream, group, bodies)
--@ ready
-- A release goes on with what it holds; a retry leaves its slot, unless jobs of its key
-- have to keep their order, and keeps its lock.
local plain_requeue = requeue
requeue = function(id, fields, first, last)
  local new = with_envelope(fields, first + 2, last)
  local at = gate.ticket_at(new)
  if not at then return plain_requeue(id, fields, first, last) end
  local delay, job, ticket = tonumber(ARGV[first]), ARGV[first + 1], new[at]
  local k, mine = gate.read(ticket), redis.call('HGET', gate.holds, id)
  if delay == 0 and not mine then
    local entry, rest = gate.enter(ticket, k, new, job, { me = id })
    gate.write()
    return entry or (type(rest) == 'table' and rest) or 1
  end
  if delay == 0 then
    local entry = redis.pcall('XADD', stream, '*', unpack(new))
    if type(entry) == 'table' then return entry end
    gate.later.drop(gate.holds, id)
    gate.leave(k.c, id)
    gate.hold(entry, ticket, k, job)
    return entry
  end
  local timed, name = plain_requeue(id, fields, first, last)
  if type(timed) == 'table' or not mine then return timed end
  gate.later.drop(gate.holds, id)
  gate.leave(k.c, id)
  if k.c and gate.rules.o then gate.take(k.c, '@' .. name) else gate.wake('c', k.c) end
  if k.u then gate.lock(k.u, '@' .. name, job) end
  return timed
end
--@ settled
-- What has ended has ended: the maintenance frees what cannot be freed now.
pcall(gate.free, { unpack(done, from, to) })
--@ finish
-- The slots that are free now are the worker's that settles.
pcall(gate.finish, not gate.rules.s and not gate.rules.i and #done or nil)
