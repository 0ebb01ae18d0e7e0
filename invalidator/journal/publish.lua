-- Keep an invalidation in the journal and publish it: both, or neither. For Redis 5 and later, and Valkey.
--
--   EVAL SCRIPT 1 STREAM CHANNEL PAYLOAD [KEEP]   gives   { the entry's id, the number of receivers }
--
-- The entry has CHANNEL and PAYLOAD as they are given; the Stream keeps about KEEP entries (1000000). What is published
-- says the entry's id as well, as the member "journal": of a JSON object, or of a CloudEvent's "data", in the place of
-- one that is there. Nothing else of a JSON payload is changed, not one byte. A bare key becomes the JSON object that
-- means the same. What no worker could read is an error, and then nothing has happened.

local channel, payload, keep = ARGV[1], ARGV[2], ARGV[3] or '1000000'

-- The members of the object whose { stands at `open` in this JSON: the name as it is written, and the first and the last
-- byte of the value.
local function members(text, open)
  local found, depth, at, name, value = {}, 1, open + 1, nil, nil
  while depth > 0 do
    local from, _, char = text:find('(["%[%]{}:,])', at)
    at = from + 1
    if char == '"' then
      repeat
        local _, quote, special = text:find('(["\\])', at)
        at = quote + (special == '"' and 1 or 2)
      until special == '"'
      if depth == 1 and not value then name = text:sub(from, at - 1) end
    elseif char == '{' or char == '[' then
      depth = depth + 1
    elseif char == '}' or char == ']' then
      depth = depth - 1
    elseif char == ':' and depth == 1 then
      value = text:find('[^ \t\r\n]', at)
    end
    if value and (depth == 0 or (depth == 1 and char == ',')) then
      found[#found + 1] = { name = name, first = value, last = from - 1 }
      name, value = nil, nil
    end
  end
  return found
end

local function called(found, name)
  local same = {}
  for _, member in ipairs(found) do
    if cjson.decode('[' .. member.name .. ']')[1] == name then same[#same + 1] = member end
  end
  return same
end

-- The text in parts: the entry's id belongs between each two of them.
local function around_the_id(text, open, has_one, is_empty)
  if not has_one then
    return { text:sub(1, open) .. '"journal":', (is_empty and '' or ',') .. text:sub(open + 1) }
  end
  local parts, at = {}, 1
  for _, member in ipairs(called(members(text, open), 'journal')) do
    parts[#parts + 1] = text:sub(at, member.first - 1)
    at = member.last + 1
  end
  parts[#parts + 1] = text:sub(at)
  return parts
end

local function of_json(text)
  local fine, object = pcall(cjson.decode, text) -- to look at: what is published is the text
  if not fine then return nil, 'is no JSON: ' .. object end
  local version, data = object.specversion, object.data
  if type(version) ~= 'string' or version == '' then
    return around_the_id(text, 1, object.journal ~= nil, next(object) == nil)
  end
  local found = called(members(text, 1), 'data')
  if type(data) ~= 'table' or #found ~= 1 or text:byte(found[1].first) ~= 123 then
    return nil, 'is a CloudEvent, whose data has to be one object'
  end
  return around_the_id(text, found[1].first, data.journal ~= nil, next(data) == nil)
end

local function of_bare_key(text)
  if text:find('[%z\1-\31\127]') or text:find('\194[\128-\159]') then return nil, 'holds a control character' end
  local quoted = '"' .. text:gsub('["\\]', '\\%0') .. '"'
  local what = '"keys":[' .. quoted .. ']'
  if text == '*' then
    what = '"all":true'
  elseif text:find('^[^*?[]*%*$') then
    what = '"prefixes":[' .. quoted:sub(1, -3) .. '"]'
  elseif text:find('[*?[]') then
    what = '"patterns":[' .. quoted .. ']'
  end
  return { '{"v":1,' .. what .. ',"journal":', '}' }
end

if #KEYS ~= 1 or #ARGV < 2 then
  return redis.error_reply('ERR invalidator: one key, the stream; then the channel, the payload and how many to keep')
end
if payload == '' then return redis.error_reply('ERR invalidator: the payload is empty') end
local parts, problem = (payload:sub(1, 1) == '{' and of_json or of_bare_key)(payload)
if not parts then return redis.error_reply('ERR invalidator: the payload ' .. problem) end
-- An entry that was not published would be heard late, and its publisher told that it failed.
if redis.acl_check_cmd and not redis.acl_check_cmd('PUBLISH', channel, payload) then
  return redis.error_reply('NOPERM invalidator: this user may not PUBLISH to the channel ' .. channel)
end

local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', keep, '*', 'channel', channel, 'payload', payload)
return { id, redis.call('PUBLISH', channel, table.concat(parts, '"' .. id .. '"')) }
