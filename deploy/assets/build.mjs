// Builds leveret.css from leveret.scss and gathers the vendored scripts, then writes assets.lock.
//
// Run by `npm ci && npm run build` here. The results are committed: installing Leveret needs no Node. The same versions
// give the same bytes, and tests/unit/test_assets.py compares the committed files with assets.lock.
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import postcss from 'postcss'
import * as sass from 'sass'

const here = dirname(fileURLToPath(import.meta.url))
const modules = join(here, 'node_modules')
const web = join(here, '..', '..', 'node', 'api', 'web')

// What packages that name no licence say in their LICENSE file.
const LICENCES = { 'htmx-ext-sse': '0BSD' }

// The parts of nhsuk-frontend that the macros use. Everything else of the imported components is left out, and so are
// the rules for Internet Explorer.
const KEPT = new Set(
  `button button--secondary button--warning checkboxes checkboxes__item checkboxes__input checkboxes__label
  checkboxes__hint radios radios__item radios__input radios__label radios__hint radios--inline error-message
  error-summary error-summary__title error-summary__body error-summary__list list hint label fieldset fieldset__legend
  form-group form-group--error input input--error select select--error textarea textarea--error tag
  u-visually-hidden`.split(/\s+/),
)
const UNUSED = /nhsuk-caption|-ms-|screen\\0|::-moz-focus-inner|:-ms|::-webkit-search/

function isKept(selector) {
  if (UNUSED.test(selector)) return false
  return [...selector.matchAll(/\.nhsuk-([\w-]+)/g)].every((found) => KEPT.has(found[1]))
}

// Drops unused rules and the vendor's name: the classes of Leveret's pages begin with `lv-`.
const prune = {
  postcssPlugin: 'prune',
  OnceExit(root) {
    root.walkRules((rule) => {
      if (rule.parent.type === 'atrule' && rule.parent.name.endsWith('keyframes')) return
      rule.selectors = rule.selectors.filter(isKept).map((selector) => selector.replaceAll('.nhsuk-', '.lv-'))
      if (rule.selector.trim() === '') rule.remove()
    })
    root.walkDecls(/^-(ms|moz)-/, (declaration) => declaration.remove())
    root.walkAtRules('media', (media) => {
      media.params = media.params.replaceAll(/,\s*\(-ms-high-contrast: active\)/g, '')
      if (UNUSED.test(media.params)) media.remove()
    })
    for (let before = -1; before !== count(root); ) {
      before = count(root)
      root.walkAtRules((rule) => rule.nodes?.length === 0 && rule.remove())
    }
    root.walkComments((comment) => comment.remove())
  },
}

function count(root) {
  let nodes = 0
  root.walk(() => {
    nodes += 1
  })
  return nodes
}

async function styleSheet() {
  const compiled = sass.compile(join(here, 'leveret.scss'), {
    loadPaths: [modules],
    quietDeps: true,
    style: 'expanded',
  })
  const pruned = await postcss([prune]).process(compiled.css, { from: undefined })
  const compact = sass.compileString(pruned.css, { style: 'compressed' }).css
  const notice = '/*! Leveret. Form components adapted from nhsuk-frontend 10.6.1, MIT licence; see NOTICE. */'
  return `${notice}\n${compact}\n`
}

const FILES = [
  { file: 'leveret.css', source: 'nhsuk-frontend', body: await styleSheet() },
  { file: 'htmx.min.js', source: 'htmx.org', body: readFileSync(join(modules, 'htmx.org/dist/htmx.min.js')) },
  { file: 'htmx-sse.js', source: 'htmx-ext-sse', body: readFileSync(join(modules, 'htmx-ext-sse/dist/sse.min.js')) },
]

function sha256(body) {
  return createHash('sha256').update(body).digest('hex')
}

function locked({ file, source, body }) {
  const { version, license } = JSON.parse(readFileSync(join(modules, source, 'package.json')))
  return { file, sha256: sha256(body), source, version, licence: license ?? LICENCES[source] }
}

for (const { file, body } of FILES) writeFileSync(join(web, 'static', file), body)
const lock = {
  recipe: 'deploy/assets',
  inputs: ['build.mjs', 'leveret.scss', 'package-lock.json'].map((file) => ({
    file,
    sha256: sha256(readFileSync(join(here, file))),
  })),
  files: FILES.map(locked),
}
writeFileSync(join(web, 'assets.lock'), `${JSON.stringify(lock, null, 2)}\n`)
