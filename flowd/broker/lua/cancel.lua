-- Cancel or delete jobs: what waits or is delayed is gone at once, what runs is marked.
--
-- KEYS  stream  delayed  delayed jobs  control  idempotency key of each job that has one
-- ARGV  group  'cancelled', or 'deleted', which marks nothing
--       channel that marks have changed  channel of events
--       then for each job: entry id, '' while it is delayed, or '*' to mark it wherever it
--         is; job id, 1 with a key
-- Returns for each job 'waiting', 'delayed' or 'parked' if it was that and is gone; 'running',
--   and whether it is marked was said by the caller; '' if it is none of these; '!...' refused.
--
-- One step, because between a look and the deletion a worker may take the job: then what
-- was to be deleted would run, and be settled as deleted by another client. An entry that
-- no consumer has is deleted for good, whether the group has passed it or not.
--
-- No worker had what is gone, so none reports it. The script counts it, in the control field
-- `@removed`, and publishes it for `flowd tail`.
--
-- Bounds: the jobs that are named, 100 at most, and 1,000 marks, of which those older than an
-- hour make room.
local stream, delayed, bodies, control = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, how = ARGV[1], ARGV[2]
--@ begin
local refused = other_group(stream, group)
if refused then return refused end
local now = now_ms()
local marks, marked, changed = nil, nil, false
local removed, said = {}, {}

local function mark(job)
  if how == 'deleted' then return 'running' end
  if not marks then marks, marked = read_marks(control, now) end
  if marked[job] then return 'running' end
  if job:find('\n', 1, true) then return '!ERR its id has a line break' end
  -- Jobs that ended before their worker looked have left theirs behind.
  while #marks >= 1000 and now - marks[1]:match('^%d+') > 3600000 do
    marked[table.remove(marks, 1):match(' (.+)$')] = nil
  end
  if #marks >= 1000 then return '!ERR 1,000 running jobs are being cancelled: wait for them' end
  marks[#marks + 1] = string.format('%.0f ', now) .. job
  marked[job], changed = true, true
  return 'running'
end

local function owned(id)
  local rows = redis.pcall('XPENDING', stream, group, id, id, 1)
  return not rows.err and rows[1]
end

local results, key = {}, 5
for i = 5, #ARGV, 3 do
  local id, job, own_key = ARGV[i], ARGV[i + 1], nil
  if ARGV[i + 2] == '1' then
    own_key = KEYS[key]
    key = key + 1
  end
  local result = ''
  local entry = id ~= '' and id ~= '*' and redis.call('XRANGE', stream, id, id)[1]
  local body = id == '' and redis.call('HGET', bodies, job)
  local fields
  if id == '*' then
    result = mark(job)
  elseif entry and owned(id) then
    result = mark(job)
  elseif entry then
    redis.call('XDEL', stream, id)
    result, fields = 'waiting', entry[2]
  elseif id == '' and redis.call('ZREM', delayed, job) == 1 then
    redis.call('HDEL', bodies, job)
    result, fields = 'delayed', body and cmsgpack.unpack(body) or {}
  end
  --@ elsewhere
  if fields then
    if own_key and is_of(redis.call('GET', own_key), job) then redis.call('DEL', own_key) end
    removed[result] = (removed[result] or 0) + 1
    said[#said + 1] = cjson.encode({
      event = 'removed', job = job:sub(1, 500), attempt = 0, consumer = '',
      text = how .. ' while it was ' .. result,
    })
    --@ removed
  end
  results[#results + 1] = result
end
if changed then
  local revision = write_marks(control, marks)
  -- Without the right, the maintenance and the renewal say it some seconds later.
  redis.pcall('PUBLISH', ARGV[3], revision)
end
if #said > 0 then
  count_removed(control, how, removed)
  redis.pcall('PUBLISH', ARGV[4], table.concat(said, '\n'))
end
--@ finish
refuse_as_replica(stream, group)
return results
