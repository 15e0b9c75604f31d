-- Gate: a job that is cancelled frees its slots, its lock and its place in a lane.
--
-- KEYS  those of the gate
-- ARGV  rules, which may be empty
--
-- In the same step, because a slot of a job that is gone would hold up others. What may go
-- now is admitted by the next worker that asks: it knows the limits.
--@ begin
local gate = open_gate(stream, group, bodies)
--@ elsewhere
if result == '' and body then
  local parked = cmsgpack.unpack(body)
  if gate.ticket_at(parked) then
    redis.call('HDEL', bodies, job)
    result, fields = 'parked', parked
  end
end
--@ removed
if result == 'waiting' then gate.free({ id }) else gate.forget(job, fields) end
--@ finish
gate.close()
