-- Prelude of the script that ends jobs which no worker has.
--
-- count_removed(control, how, numbers) adds to the numbers of the queue
--
-- They are one text of words `HOW:STATE=NUMBER`, and lost with the queue alone.
local function count_removed(control, how, numbers)
  local order, total = {}, {}
  local text = redis.call('HGET', control, '@removed') or ''
  for name, number in text:gmatch('(%S+)=(%d+)') do
    order[#order + 1], total[name] = name, tonumber(number)
  end
  for state, number in pairs(numbers) do
    local name = how .. ':' .. state
    if not total[name] then order[#order + 1] = name end
    total[name] = (total[name] or 0) + number
  end
  for n, name in ipairs(order) do
    order[n] = name .. '=' .. string.format('%.0f', total[name])
  end
  redis.call('HSET', control, '@removed', table.concat(order, ' '))
end
