package reporttest

import "testing"

// The schema accepts valid lines, and refuses lines that are almost valid.
func TestSchema(t *testing.T) {
	s, err := Load("../../doc/event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1795228118,"event":"NEW","vid":null}`:                                    true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"MOVED","vid":1}`:           true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":0,"event":"REFRESHED","vid":4094,"inner_vid":1,"interface":"eth0"}`:      true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1795228118,"event":"NEW"}`:                                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1795228118,"event":"MOVED","vid":null}`:                                  false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"NEW","vid":null}`:          false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":"1795228118","event":"NEW","vid":null}`:                                  false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1.5,"event":"NEW","vid":null}`:                                           false,
		`{"ip":"10.0.0.5","mac":"02:AA:00:00:00:05","time":1,"event":"NEW","vid":null}`:                                             false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00","time":1,"event":"NEW","vid":null}`:                                                false,
		`{"ip":"10.0.0.05","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null}`:                                            false,
		`{"ip":"10.0.0","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null}`:                                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"OLD","vid":null}`:                                             false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":0}`:                                                false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":4095}`:                                             false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"inner_vid":4095}`:                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"MOVED","vid":1,"moves":2}`: true,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","previous_mac":"02:bb:00:00:00:05","time":1,"event":"MOVED","vid":1,"moves":1}`: false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"moves":2}`:                                      false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"inner_vid":null}`:                               false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":1,"interface":""}`:                                 false,
		`{"ip":"10.0.0.5","mac":"02:aa:00:00:00:05","time":1,"event":"NEW","vid":null,"hostname":"x"}`:                              false,
		`["10.0.0.5"]`: false,
		`{"ip"`:        false,
	} {
		if err := s.Check([]byte(line)); (err == nil) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
}
