-- Prelude of every script that reads names and values in turn: of XINFO, of a job.
--
-- by_name(row) -> table: the values by name
local function by_name(row)
  local found = {}
  for i = 1, #row, 2 do found[row[i]] = row[i + 1] end
  return found
end
