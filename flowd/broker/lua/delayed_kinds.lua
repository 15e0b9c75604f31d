-- Say why delayed jobs wait, and change nothing.
--
-- KEYS  delayed  delayed jobs
-- ARGV  samples at most  jobs of each
-- Returns { how many are delayed, how many were looked at, { version, scheduled, released,
--   retrying }... }, a row for each version of the schema.
--
-- Of more jobs, the samples lie evenly between the first and the last.
--
-- Bounds: as many samples as are asked for, and 4 MB of jobs and the sample that reaches
-- it, which has up to 8 MB.
local delayed, bodies, size = KEYS[1], KEYS[2], tonumber(ARGV[2])
local all = redis.call('ZCARD', delayed)
local samples = math.min(tonumber(ARGV[1]), math.ceil(all / size))
local step = math.max(size, all / math.max(1, samples))
local bytes, looked = 0, 0
local rows, of_version = {}, {}

local function look(body)
  bytes = bytes + #body
  local read, fields = pcall(cmsgpack.unpack, body)
  if not read or type(fields) ~= 'table' then return end
  looked = looked + 1
  local said = by_name(fields)
  local version, attempt = said._v or '1', said._attempt or '1'
  local row = of_version[version]
  if not row then
    row = { version, 0, 0, 0 }
    rows[#rows + 1], of_version[version] = row, row
  end
  local kind = attempt ~= '1' and 4 or (said._attempt and 3) or 2
  row[kind] = row[kind] + 1
end

-- The golden section of the samples, and no divisor of theirs: wherever this ends, what it
-- has seen lies evenly.
local stride = math.max(1, math.floor(samples * 0.618))
local function shares_divisor(a, b)
  while b > 0 do a, b = b, a % b end
  return a > 1
end
while shares_divisor(samples, stride) do stride = stride + 1 end
for n = 0, samples - 1 do
  if bytes >= 4000000 then break end
  local first = math.floor(n * stride % samples * step)
  local jobs = redis.call('ZRANGE', delayed, first, first + size - 1)
  for _, body in ipairs(#jobs > 0 and redis.call('HMGET', bodies, unpack(jobs)) or {}) do
    if body then look(body) end
  end
end
return { all, looked, rows }
