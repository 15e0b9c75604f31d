-- Find what is held at the gate by jobs that are nowhere, and change nothing.
--
-- KEYS  stream  delayed jobs  those of the gate
-- ARGV  group  how many to look at, of slots, of holds and of locks  rules, which may be empty
-- Returns for each holder that is nowhere { its id, what it holds... }: c:KEY a slot, u:KEY a
--   lock, or another word of its ticket.
--
-- One step, because a job that moves has another id, under which it holds the same.
--
-- Bounds: as many as are asked for, from anywhere on if there are more.
local stream, bodies = KEYS[1], KEYS[2]
local group, most = ARGV[1], tonumber(ARGV[2])
local gate = open_gate(stream, group, bodies)
local alive, rows, row_of = {}, {}, {}

local function look(holder, ...)
  if alive[holder] == nil then alive[holder] = gate.lives(holder) end
  if alive[holder] then return end
  if not row_of[holder] then
    row_of[holder] = { holder }
    rows[#rows + 1] = row_of[holder]
  end
  local row = row_of[holder]
  for _, name in ipairs({ ... }) do
    local is_new = true
    for n = 2, #row do is_new = is_new and row[n] ~= name end
    if is_new then row[#row + 1] = name end
  end
end

local many = redis.call('ZCARD', gate.slots) > most
local from = many and '[' .. redis.call('ZRANDMEMBER', gate.slots) or '-'
for _, row in ipairs(redis.call('ZRANGEBYLEX', gate.slots, from, '+', 'LIMIT', 0, most)) do
  local key, holder = row:match('^(%Z+)%z(.*)$')
  look(holder, 'c:' .. key)
end
local held = redis.call('HRANDFIELD', gate.holds, most, 'WITHVALUES')
for n = 1, #held, 2 do
  local words = {}
  for word in held[n + 1]:gmatch('%S+') do words[#words + 1] = word end
  look(held[n], unpack(words))
end
for _, field in ipairs(redis.call('HRANDFIELD', gate.state, most)) do
  local key = field:match('^u:(.*)$')
  if key then look(gate.lock_of(key), 'u:' .. key) end
end
return rows
