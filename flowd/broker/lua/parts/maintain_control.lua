-- Control: whether running jobs are cancelled.
--
-- KEYS  control
-- Returns the revision of the marks, or 0 without any.
--@ begin
local control = table.remove(KEYS)
--@ reply
local control_marks = redis.call('HGET', control, '@cancels')
reply[#reply + 1] = control_marks and tonumber(control_marks:match('^%d+')) or 0
