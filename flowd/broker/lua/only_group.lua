-- Prelude of every script that deletes entries or adds them again.
--
-- groups_of(stream) -> groups as XINFO has them; { err = ... } if they cannot be read
-- other_group(stream, group) -> error reply, or nil
--
-- A settled entry is deleted, so a second group that reads the stream would lose it.
-- Asked inside the script, because a group may be created at any moment. A stream that
-- is not there has no group. Without the right to ask nothing is known, and nothing done.
local function groups_of(stream)
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  if groups.err == 'ERR no such key' then return {} end
  return groups
end

local function other_group(stream, group)
  local groups = groups_of(stream)
  if groups.err then
    -- Not every server names the command that it refuses inside a script.
    return redis.error_reply(groups.err:gsub('%s+$', '') .. ' (XINFO GROUPS)')
  end
  for _, row in ipairs(groups) do
    -- Every server says it first; else it is looked for.
    local name = row[1] == 'name' and row[2] or by_name(row).name
    if name ~= group then
      return redis.error_reply('SHARED stream ' .. stream .. ' of group ' .. group
        .. ' is also read by group ' .. name)
    end
  end
end
