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
local plain_requeue = requeue
requeue = function(id, fields, first, last)
  local new = with_envelope(fields, first + 2, last)
  if not gate.ticket_at(new) then return plain_requeue(id, fields, first, last) end
  return gate.requeue(id, new, tonumber(ARGV[first]), ARGV[first + 1], delayed)
end
--@ settled
gate.free({ unpack(done, from, to) })
--@ finish
gate.admit()
gate.close()
