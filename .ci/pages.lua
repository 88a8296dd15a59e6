-- A filter of pandoc's for pages.py: Markdown is read as Jupyter reads it, each cell by itself.
local markdown = "commonmark+autolink_bare_uris+pipe_tables+strikeout+task_lists+tex_math_dollars"

-- Pandoc's MathML has no numbers of equations.
local function numbered(equation)
  equation.text = equation.text:gsub("\\tag%s*{([^{}]*)}", "\\quad\\text{(%1)}")
  return equation
end

-- Pandoc colours what has a class; pages.py colours all code alike.
local function uncoloured(code)
  code.attributes.language = code.classes[1]
  code.classes = {}
  return code
end

function RawBlock(block)
  if block.format == "markdown" then
    return pandoc.read(block.text, markdown):walk({Math = numbered, CodeBlock = uncoloured}).blocks
  end
end

-- The frame of a cell goes: an element may begin in one cell and end in another.
function Div(frame)
  if frame.classes:includes("cell") then
    return frame.content
  end
end
