"""What Redis does for the alarms as one step: scripts in Lua.

A script changes everything or nothing: whatever may be refused, a full memory or a missing right, is refused at its
first write. What lies under one of our names and is of another type is removed, and said to be; a text in a hash that
should be a number counts as none. They call what users of earlier releases have the rights to.
"""

from typing import Final

_OWN: Final = """
local notes = {}
local function note(kind, name) notes[#notes + 1] = kind; notes[#notes + 1] = name end
local function is_foreign(answer)
  return type(answer) == 'table' and answer.err and string.find(answer.err, 'WRONGTYPE', 1, true)
end
local function own(kind, command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if is_foreign(answer) then redis.call('DEL', key); note(kind, key) end
  return redis.call(command, key, ...)
end
local function number(text)
  if not text or #text > 15 or not string.find(text, '^%d+$') or string.find(text, '^0%d') then return nil end
  return text
end
"""

WRITE: Final = (
    _OWN
    + """
-- KEYS: events, cameras, positions, then the hash of each state.
-- ARGV: the events kept, the channel, the most cameras, the rest as JSON.
local given = cjson.decode(ARGV[4])
if redis.acl_check_cmd then -- since Redis 7; a right that is missed half-way would leave half of the change
  for _, words in ipairs({
    {'DEL', KEYS[2]}, {'HSET', KEYS[3], 'a', 'b'}, {'SADD', KEYS[2], 'a'}, {'XADD', KEYS[1], '*', 'a', 'b'},
    {'PUBLISH', ARGV[2], 'a'}
  }) do
    if not redis.acl_check_cmd(unpack(words)) then
      return redis.error_reply('NOPERM this user has no right to ' .. words[1] .. ' ' .. words[2])
    end
  end
end
if given.log then
  local found = number(own('alarm_position', 'HGET', KEYS[3], given.log)) or ''
  if found ~= given.before then return {'moved'} end
end
local new = {}
local any_new = false
for i, state in ipairs(given.states) do
  local found = number(own('alarm_state', 'HGET', KEYS[3 + i], 'version'))
  if (found or '0') ~= state.version then return {'changed'} end
  if not found then new[state.camera] = true; any_new = true end
end
local refused = {}
if any_new then
  local here, count = {}, 0
  for _, camera in ipairs(own('alarm_camera', 'SMEMBERS', KEYS[2])) do here[camera] = true; count = count + 1 end
  for _, state in ipairs(given.states) do
    if new[state.camera] and not here[state.camera] then
      if state.always or count < tonumber(ARGV[3]) then
        count = count + 1
      else
        refused[state.camera] = true
        note('refused', state.camera)
      end
    end
  end
end
for i, state in ipairs(given.states) do
  if not refused[state.camera] then
    redis.call('DEL', KEYS[3 + i])
    redis.call('HSET', KEYS[3 + i], unpack(state.fields))
    own('alarm_camera', 'SADD', KEYS[2], state.camera)
  end
end
for _, event in ipairs(given.events) do
  if not refused[event.camera] then
    own('alarm_event', 'XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', event.json)
    if event.live then redis.call('PUBLISH', ARGV[2], event.json) end
  end
end
if given.log then redis.call('HSET', KEYS[3], given.log, given.after) end
return {'written', unpack(notes)}
"""
)
"""Writes states, events and a log's position, if Redis stands where they were computed from.

It answers `written`, `changed` or `moved`; behind `written` pairs of what was noted: `refused` and a camera that is one
too many, or what was removed (see `model.errors.Foreign`) and its key.
"""

LOAD: Final = """
-- KEYS: the hash of each state. ARGV: the longest text that is of use, then the names of the fields.
local longest = tonumber(ARGV[1])
local states = {}
for i, key in ipairs(KEYS) do
  local fields = {}
  for field = 2, #ARGV do
    local text = redis.pcall('HGET', key, ARGV[field])
    if type(text) == 'table' then
      if not string.find(text.err, 'WRONGTYPE', 1, true) then return text end
      fields = false
      break
    end
    if text then
      fields[#fields + 1] = ARGV[field]
      fields[#fields + 1] = string.sub(text, 1, longest + 1)
    end
  end
  if fields and #fields == 0 and (not redis.acl_check_cmd or redis.acl_check_cmd('HLEN', key)) then
    local size = redis.pcall('HLEN', key)
    if type(size) == 'number' and size > 0 then fields = false end
  end
  states[i] = fields
end
return states
"""
"""The fields of states, each as a list of names and texts; nothing in place of what is no hash, or one with none of the
fields. No text is longer than is of use, so that one who writes half a gigabyte there fills no worker's memory."""

FORGET: Final = (
    _OWN
    + """
-- KEYS: events, cameras, the hash of the state. ARGV: the events kept, the channel, the camera, its event.
local known = own('alarm_camera', 'SREM', KEYS[2], ARGV[3]) + redis.call('DEL', KEYS[3])
if known == 0 then return 0 end
own('alarm_event', 'XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[4])
redis.call('PUBLISH', ARGV[2], ARGV[4])
return 1
"""
)
"""Removes a camera and its state; answers whether there was one."""

TAKE_ACKNOWLEDGEMENTS: Final = """
-- KEYS: the stream. ARGV: the group, the consumer, after how many ms others' are claimed, how many, the longest text.
local longest = tonumber(ARGV[5])
local taken = {}
local function take(messages)
  for _, message in ipairs(messages or {}) do
    if message and message[1] then
      local texts = {}
      for i, text in ipairs(message[2] or {}) do
        if i > 16 then break end
        texts[i] = string.sub(text, 1, longest + 1)
      end
      taken[#taken + 1] = {message[1], texts}
    end
  end
end
take(redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], '0', 'COUNT', ARGV[4])[2])
local fresh = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[4], 'STREAMS', KEYS[1], '>')
if fresh then take(fresh[1][2]) end
return taken
"""
"""The next acknowledgements of a member of the group, those that others took long ago and never finished first; each as
its id and a list of names and texts, of which no more than eight pairs and no longer text than is of use."""

HEALTH: Final = (
    _OWN
    + """
-- KEYS: the hash of cameras' health, its events.
-- ARGV: the camera, its health as JSON, 1 where its alarm is raised, the events kept.
local before = own('alarm_event', 'HGET', KEYS[1], ARGV[1])
local raised = type(before) == 'string' and string.find(before, '"alarm":true', 1, true)
if before == ARGV[2] then return notes end -- written already: the answer was lost
if ARGV[3] == '1' or raised then
  own('alarm_event', 'XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'event', ARGV[2])
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return notes
"""
)
