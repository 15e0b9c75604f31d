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
promote = function(job, body)
  local id, rest = gate.promote(job, cmsgpack.unpack(body))
  return id or (type(rest) == 'table' and rest)
end
--@ reply
gate.heal()
gate.admit()
gate.close()
local gate_due = gate.next_due()
if gate_due and (reply[2] < 0 or gate_due < reply[2]) then reply[2] = gate_due end
if redis.call('PTTL', gate_policies) < 50000 then
  redis.pcall('SET', gate_policies, gate_text, 'PX', 60000)
end
reply[#reply + 1] = gate.healed
