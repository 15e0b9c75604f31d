-- Gate: due jobs come to the gate, lanes whose rate allows it go on, and what is held by
-- nothing is freed.
--
-- KEYS  those of the gate, policies
-- ARGV  policies of the worker, rules
-- Returns how many holders were nowhere.
--
-- It promotes in place of the script, which would pass the gate. The policies are a sign of
-- life: without one for a minute, workers of a release without a gate let all jobs through.
--@ begin
local gate_rules, gate_text = table.remove(ARGV), table.remove(ARGV)
ARGV[#ARGV + 1] = gate_rules
local gate_policies = table.remove(KEYS)
local gate = open_gate(stream, group, bodies)
local gate_promoted, gate_refused, gate_bytes = 0, false, 0
do
  local shared = other_group(stream, group)
  if shared then return shared end
  local t = redis.call('TIME')
  local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
  refuse_as_replica(stream, group)
  for _, job in ipairs(
    redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[4])) do
    local body = redis.call('HGET', bodies, job)
    local id, rest
    if body then id, rest = gate.promote(job, cmsgpack.unpack(body)) end
    gate_refused = type(id) == 'table' or type(rest) == 'table'
    if gate_refused then break end
    if type(id) == 'string' then redis.call('HDEL', bodies, job) end
    redis.call('ZREM', delayed, job)
    gate_promoted = gate_promoted + 1
    gate_bytes = gate_bytes + #(body or '')
    if gate_bytes >= 1000000 then break end
  end
  ARGV[4] = 0
end
--@ reply
gate.heal()
gate.admit()
gate.close()
reply[1] = gate_promoted
if gate_refused then reply[2] = 1000 end
local gate_due = gate.next_due()
if gate_due and (reply[2] < 0 or gate_due < reply[2]) then reply[2] = gate_due end
if redis.call('PTTL', gate_policies) < 50000 then
  redis.pcall('SET', gate_policies, gate_text, 'PX', 60000)
end
reply[#reply + 1] = gate.healed
