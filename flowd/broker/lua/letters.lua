-- Look at dead letters, the newest first, and change nothing.
--
-- KEYS  dead letters
-- ARGV  before which id (`+` or `(ID`)  down to which (`-` or a time in ms)  how many
--       bytes of a value at most  how many fields, from the end; 0: all
-- Returns the entries as XREVRANGE does.
--
-- Inside Redis, because a letter has up to 256 KB and a list shows a line of it. The
-- fields that say why the job died are the last ones.
--
-- Bounds: as many letters as are asked for, 100 at most (`PAGE` in `ops/queries`).
local most, kept = tonumber(ARGV[4]), 2 * ARGV[5]
local found = redis.call('XREVRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
for _, entry in ipairs(found) do
  local fields, cut = entry[2], {}
  local first = kept > 0 and math.max(1, #fields - kept + 1) or 1
  for f = first, #fields do
    local value = fields[f]
    if (f - first) % 2 == 1 and #value > most then value = value:sub(1, most) end
    cut[#cut + 1] = value
  end
  entry[2] = cut
end
return found
