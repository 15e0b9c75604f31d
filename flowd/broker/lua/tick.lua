-- Let ticks of a schedule have their turn: enqueue the job of each, once for all workers.
--
-- KEYS  stream  delayed jobs  cron
-- ARGV  digest of the worker's schedules  name  1 if runs must not overlap, else 0
--       then for each tick, oldest first: time in ms, job id or '' if it only is recorded
-- Returns { 1, or 0 if other schedules are registered, or -1 if none are; last recorded
--   tick in ms; ms of the server's clock; jobs stored; ticks recorded without a job }
--
-- One step, because a tick that is recorded without its job would be lost, and a job that
-- is stored without its tick would be enqueued by the next worker again. A tick is refused
-- while it lies ahead of the server's clock, whatever the worker's clock says.
local stream, bodies, cron = KEYS[1], KEYS[2], KEYS[3]
local digest, name = ARGV[1], ARGV[2]
local now = now_ms()
local owner = redis.call('HGET', cron, '@digest')
if owner ~= digest then return { owner and 0 or -1, 0, now, 0, 0 } end

local function key(part) return name .. ':' .. part end
local function of(part) return redis.call('HGET', cron, key(part)) end
local recorded, fields, paused = tonumber(of('tick') or nil), of('fields'), of('paused')
if not recorded or not fields then return { -1, 0, now, 0, 0 } end

local function alive()
  local run, entry = of('run'), of('entry')
  if entry and redis.call('XRANGE', stream, entry, entry)[1] then return true end
  return run and redis.call('HGET', bodies, run)
end

local stored, passed = 0, 0
for i = 4, #ARGV, 2 do
  local tick, job = tonumber(ARGV[i]), ARGV[i + 1]
  if tick > now then break end
  if tick > recorded then
    if job == '' or paused or (ARGV[3] == '1' and alive()) then
      passed = passed + 1
    else
      local entry = { '_id', job, '_at', string.format('%.0f', now) }
      for _, each in ipairs(cmsgpack.unpack(fields)) do entry[#entry + 1] = each end
      local id = redis.call('XADD', stream, '*', unpack(entry))
      redis.call(
        'HSET', cron, key('run'), job, key('entry'), id, key('ran'),
        string.format('%.0f', now), key('outcome'), '')
      stored = stored + 1
    end
    recorded = tick
    redis.call('HSET', cron, key('tick'), string.format('%.0f', tick))
  end
end
return { 1, recorded, now, stored, passed }
