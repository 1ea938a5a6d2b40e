
local reply = run()
if #repaired > 0 then
  table.insert(reply, 1, repaired)
  table.insert(reply, 1, 'REPAIRED')
end
return reply
