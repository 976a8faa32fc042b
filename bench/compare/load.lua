-- Sends the requests of the file that REQUESTS names, one a line: method, path, headers and body between tabs, headers
-- separated by the unit separator. After the last the first comes again.
local requests = {}
local next_one = 0

function init()
  for line in io.lines(os.getenv("REQUESTS")) do
    local method, path, headers, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
    local named = {}
    for header in headers:gmatch("[^\31]+") do
      local name, value = header:match("^([^:]+): (.*)$")
      named[name] = value
    end
    if body == "" then body = nil end
    requests[#requests + 1] = wrk.format(method, path, named, body)
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
