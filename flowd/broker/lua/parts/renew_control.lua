-- Control: whether running jobs are cancelled, also while the event loop is busy.
--
-- KEYS  control
-- Returns `!` and the revision of the marks behind the lost ids, if there are any.
--@ begin
local control = table.remove(KEYS)
--@ renewed
local control_marks = redis.pcall('HGET', control, '@cancels')
if type(control_marks) == 'string' then lost[#lost + 1] = '!' .. control_marks:match('^%d+') end
