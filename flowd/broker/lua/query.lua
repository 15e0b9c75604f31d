-- Look at jobs of a queue, and change nothing.
--
-- KEYS  stream  delayed  delayed jobs  progress  parked  control
-- ARGV  group  bytes of a value at most  what  ...
--         waiting  after which id  how many
--         running  after which id  how many  of which consumer, or '' for all
--         delayed  after how many  how many
--         parked   after how many  how many
--         lanes    after which place at the gate, or ''  how many  up to which place
--         one      entry id, or ''  job id
-- Returns for each job { state, id, fields, due in ms, consumer, ms without a sign of
--   life, count, progress }; what does not apply is 0 or ''.
--
-- One step, because a job may move between two steps; and inside Redis, because values
-- may be large, the envelope is among them, and delayed jobs are packed.
--
-- Bounds: as many jobs as are asked for, 100 at most (`PAGE` in `ops/queries`), and of each
-- value as many bytes as are asked for; whole, a job has up to 256 KB, so 26 MB.
local stream, delayed, bodies, said = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, most, what = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local seen = {}

local function add(state, id, fields, due, consumer, idle, count, progress)
  for f = 2, #fields, 2 do
    if #fields[f] > most then fields[f] = fields[f]:sub(1, most) end
  end
  seen[#seen + 1] = { state, id, fields, due, consumer, idle, count, progress or '' }
end

-- An entry that another client deleted is shown without fields.
local function add_running(rows)
  local ids = {}
  for i, p in ipairs(rows) do ids[i] = p[1] end
  local progress = #ids > 0 and redis.call('HMGET', said, unpack(ids))
  for i, p in ipairs(rows) do
    local entry = redis.call('XRANGE', stream, p[1], p[1])[1]
    add('running', p[1], entry and entry[2] or {}, '0', p[2], p[3], p[4], progress[i])
  end
end

local function add_delayed(job, due, state)
  local body = redis.call('HGET', bodies, job)
  add(state or 'delayed', job, body and cmsgpack.unpack(body) or {}, due, '', 0, 0)
end

-- Everything up to this entry was delivered.
local delivered
local groups = redis.pcall('XINFO', 'GROUPS', stream)
if groups.err and groups.err ~= 'ERR no such key' then return groups end
local row = group_of(stream, group)
if row then delivered = read_up_to(KEYS[6], row) end

if what == 'waiting' then
  local after = ARGV[4] == '' and (delivered or '0-0') or ARGV[4]
  for _, entry in ipairs(
    redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', ARGV[5])) do
    add('waiting', entry[1], entry[2], '0', '', 0, 0)
  end
elseif what == 'running' and delivered then
  local query = { stream, group, ARGV[4] == '' and '-' or '(' .. ARGV[4], '+', ARGV[5] }
  if ARGV[6] ~= '' then query[6] = ARGV[6] end
  add_running(redis.call('XPENDING', unpack(query)))
elseif what == 'delayed' then
  local last = ARGV[4] + ARGV[5] - 1
  local found = redis.call('ZRANGE', delayed, ARGV[4], last, 'WITHSCORES')
  for i = 1, #found, 2 do add_delayed(found[i], found[i + 1]) end
elseif what == 'parked' then
  for _, row in ipairs(
    redis.call('ZRANGE', KEYS[5], ARGV[4], ARGV[4] + ARGV[5] - 1)) do
    add_delayed(row:match('^%Z*%z(.*)$'):sub(18), '0', 'parked')
  end
elseif what == 'lanes' then
  local rows = redis.call('ZRANGEBYLEX', KEYS[5], ARGV[4] == '' and '-' or '(' .. ARGV[4],
    '[' .. ARGV[6], 'LIMIT', 0, ARGV[5])
  for _, row in ipairs(rows) do add_delayed(row:match('^%Z*%z(.*)$'):sub(18), '0', 'parked') end
  seen[#seen + 1] = rows[#rows] or ''
elseif what == 'one' then
  local id, job = ARGV[4], ARGV[5]
  local entry = id ~= '' and redis.call('XRANGE', stream, id, id)[1]
  local rows = entry and delivered and redis.call('XPENDING', stream, group, id, id, 1)
  if rows and rows[1] then
    add_running(rows)
  elseif entry then
    add('waiting', id, entry[2], '0', '', 0, 0)
  end
  local due = redis.call('ZSCORE', delayed, job)
  if due then
    add_delayed(job, due)
  elseif redis.call('HGET', bodies, job) then
    add_delayed(job, '0', 'parked')
  end
end
return seen
