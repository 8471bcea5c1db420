// What scripts add to Leveret's pages; all of them work without it.
(() => {
  'use strict'

  document.documentElement.classList.add('lv-js')

  const SHORTCUTS_OFF = 'leveret-shortcuts-off' // WCAG 2.1.4: single-key shortcuts can be switched off
  const STUDIES = '.lv-study a, .lv-study button'

  // --- htmx: the session's token goes with every request, and failures are said aloud.

  document.addEventListener('htmx:configRequest', (event) => {
    const token = document.querySelector('meta[name="csrf"]')
    if (token) event.detail.headers['X-CSRF-Token'] = token.content
  })

  function say(words) {
    const place = document.getElementById('live')
    if (place) place.textContent = words
  }

  document.addEventListener('htmx:sendError', () => say('This node cannot be reached. Try again in a moment.'))
  document.addEventListener('htmx:responseError', () => say('That did not work. Reload the page to see why.'))

  // What an event stream was about has ended: the page knows more now.
  document.addEventListener('htmx:sseClose', (event) => {
    const ended = event.detail.type === 'message' && event.target.closest('[data-reload]')
    if (ended) location.reload()
  })

  // --- Keyboard

  function typing(target) {
    return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)
  }

  function step(by) {
    const all = [...document.querySelectorAll('.lv-study')]
    const here = all.findIndex((study) => study.contains(document.activeElement))
    const next = all[Math.min(Math.max(here + by, 0), all.length - 1)]
    const target = next && next.querySelector(STUDIES)
    if (target) target.focus()
  }

  const KEYS = {
    '/': () => {
      const field = document.querySelector('[data-search]')
      if (field) field.focus()
      else if (location.pathname.startsWith('/console/')) location.assign('/console/')
    },
    '?': () => document.querySelector('a[data-help]')?.click(),
    j: () => step(1),
    k: () => step(-1),
  }

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const isSearch = event.key === '/' && event.target.matches('[data-search]') && !event.target.value
    if (typing(event.target) && !isSearch) return
    if (localStorage.getItem(SHORTCUTS_OFF) || !(event.key in KEYS)) return
    event.preventDefault()
    KEYS[event.key]()
  })

  function prepareSwitch(box) {
    box.checked = !localStorage.getItem(SHORTCUTS_OFF)
    box.addEventListener('change', () => {
      if (box.checked) localStorage.removeItem(SHORTCUTS_OFF)
      else localStorage.setItem(SHORTCUTS_OFF, '1')
    })
  }

  // --- Codes by camera, where the browser can read them

  async function scan(button) {
    const field = document.getElementById(button.dataset.scan)
    const place = document.createElement('div')
    const video = document.createElement('video')
    place.className = 'lv-camera'
    video.muted = true
    video.playsInline = true
    place.append(video)
    button.after(place)
    button.disabled = true
    let stream
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } })
      video.srcObject = stream
      await video.play()
      field.value = await firstCode(video, place)
      field.focus()
      say('The code was read.')
    } catch {
      say('The camera cannot be used. Type or paste the code.')
    } finally {
      if (stream) stream.getTracks().forEach((track) => track.stop())
      place.remove()
      button.disabled = false
    }
  }

  async function firstCode(video, place) {
    const detector = new BarcodeDetector()
    for (;;) {
      const [found] = await detector.detect(video)
      if (found) return found.rawValue
      if (!place.isConnected) throw new Error('closed')
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
  }

  // --- Each piece of a page, also of one that htmx brings later

  function prepare(root) {
    const each = (selector, act) => root.querySelectorAll(selector).forEach(act)
    if ('BarcodeDetector' in window && navigator.mediaDevices) {
      each('button[data-scan]', (button) => {
        button.hidden = false
        button.addEventListener('click', () => scan(button))
      })
    }
    each('select[data-autosubmit]', (select) => select.addEventListener('change', () => select.form.requestSubmit()))
    each('input[data-shortcuts]', prepareSwitch)
    each('button[data-print]', (button) => {
      button.hidden = false
      button.addEventListener('click', () => window.print())
    })
    each('button[data-copy]', (button) => {
      button.hidden = false
      button.addEventListener('click', async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim())
        say('Copied.')
      })
    })
    each('img[data-spare]', (image) => {
      const spare = () => image.replaceWith(image.dataset.spare)
      if (image.complete && image.naturalWidth === 0) spare()
      else image.addEventListener('error', spare)
    })
  }

  document.addEventListener('htmx:load', (event) => event.detail.elt !== document.body && prepare(event.detail.elt))
  prepare(document)
})()
