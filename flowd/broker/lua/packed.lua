-- Prelude of the scripts that put a packed job together, without a table of its fields.
--
-- text_head(size) -> what a text of so many bytes begins with, as `cmsgpack` packs it
local text_heads = {}
local function text_head(size)
  local head = text_heads[size]
  if head then return head end
  if size < 32 then
    head = string.char(160 + size)
  elseif size < 256 then
    head = string.char(217, size)
  elseif size < 65536 then
    head = string.char(218, math.floor(size / 256), size % 256)
  else
    head = struct.pack('>BI4', 219, size)
  end
  text_heads[size] = head
  return head
end
