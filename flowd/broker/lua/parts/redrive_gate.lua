-- Gate: a dead letter of a queue with policies comes to the gate again, with its lock.
--
-- KEYS  those of the gate, delayed jobs
-- ARGV  1 if a job whose key is taken is to wait until it is free, else 0; rules
-- Refuses a letter whose key is taken with '!TAKEN ...', which names the job that has it.
--
-- What is put back has no ticket: as every entry without one it gets one when it is read.
-- The lock is taken in the same step, because the key may be taken at any moment.
--@ begin
local gate_bodies = table.remove(KEYS)
local gate = open_gate(KEYS[1], ARGV[1], gate_bodies)
local gate_waits = table.remove(ARGV) == '1'
--@ before
local gate_at = gate.ticket_at(fields)
local gate_ticket = gate_at and fields[gate_at]
local gate_key = gate_ticket and gate.read(gate_ticket).u
local gate_holder, gate_job
if gate_key then gate_holder, gate_job = gate.holder(gate_key) end
if gate_at and not (gate_holder and gate_waits) then
  table.remove(fields, gate_at)
  table.remove(fields, gate_at - 1)
end
-- In place of the XADD that follows.
local gate_redis = redis
local redis = not gate_holder and redis or {
  call = gate_redis.call,
  pcall = function()
    if not gate_waits then
      return { err = 'TAKEN the job ' .. gate_job .. ' has the key ' .. gate_key }
    end
    local parked = gate.park_fields(
      gate_ticket, gate.read(gate_ticket), fields, ARGV[i + 1], { lock = gate_key })
    gate.write()
    return parked
  end,
}
--@ redriven
if gate_key and not gate_holder then gate.lock(gate_key, added, ARGV[i + 1]) end
--@ finish
gate.finish()
