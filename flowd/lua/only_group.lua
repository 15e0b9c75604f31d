-- Prelude of every script that deletes entries or adds them again.
--
-- other_group(stream, group) -> error reply, or nil
--
-- A settled entry is deleted, so a second group that reads the stream would lose it.
-- Asked inside the script, because a group may be created at any moment. A stream that
-- is not there has no group.
local function other_group(stream, group)
  for _, g in ipairs(redis.pcall('XINFO', 'GROUPS', stream)) do
    local name
    for i = 1, #g, 2 do if g[i] == 'name' then name = g[i + 1] end end
    if name ~= group then
      return redis.error_reply('SHARED stream is also read by group ' .. name)
    end
  end
end
