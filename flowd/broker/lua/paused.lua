-- Prelude of the scripts that have to know where a paused group really is.
--
-- END -> the id behind every entry that there can be, where a paused group stands
-- group_of(stream, group) -> what XINFO says of it by name, or nil
-- read_up_to(control, row) -> the id up to which the group was delivered
local END = '18446744073709551615-18446744073709551614'

local function group_of(stream, group)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, row in ipairs(groups) do
    local found = by_name(row)
    if found.name == group then return found end
  end
end

local function read_up_to(control, row)
  local last = row['last-delivered-id']
  if last ~= END then return last end
  local saved = redis.call('HGET', control, '@paused')
  return saved and saved:match('^%S+') or '0-0'
end
