-- Prelude of every script that reads the server's clock.
--
-- now_ms() -> milliseconds since 1970
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
