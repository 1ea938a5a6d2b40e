-- Takes a write in two steps, for drills without the safeguard `OneStep`. ARGV: 8 'announce' for the
-- first step, then the sequence that it announced; the rest as write.lua has it.
if ARGV[8] == 'announce' then
  local announced = {}
  for arg = 9, #ARGV, 8 do
    announced[#announced + 1] = covered(ARGV[arg + 5], ARGV[arg + 6])
  end
  advance()
  announce(1, table.concat(announced))
  return {'OK', epoch, sequence, {}}
end
local announced_sequence = tonumber(ARGV[8])
if announced_sequence then
  advance = function()
    sequence = announced_sequence
  end
  announce = function() end
end

